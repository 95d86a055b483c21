"""Commands for the repository as a whole: reproduce results, start a new project."""
