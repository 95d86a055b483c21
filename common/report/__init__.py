"""What a person sees of a run: tables, reports and figures."""
