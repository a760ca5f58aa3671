"""Plant 2: this machine: worker processes, the data plane, the REST protocol and the measuring loop of the profiler."""
