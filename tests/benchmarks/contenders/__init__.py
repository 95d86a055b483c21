"""What the benchmarks compare: each module is a program whose last line says, in JSON, what it measured."""
