"""Reports: error analysis of evaluations, and tables of runs."""
