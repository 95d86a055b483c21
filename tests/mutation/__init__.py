"""Plants small faults in the code, one at a time, and counts those that the tests notice: `make test-mutation`."""
