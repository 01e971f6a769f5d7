"""Reading: the project's code, its graph and its deployment files, as far as they tell without being run."""
