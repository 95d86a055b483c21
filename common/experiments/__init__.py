"""How any run works: config, run folder, the loops over trainings, exact resume."""
