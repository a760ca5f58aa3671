"""What is wanted: the pipeline file, parsed once, here, into frozen values."""
