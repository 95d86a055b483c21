"""Settings that hold for all tests."""

from hypothesis import settings

# The first call of an operation compiles it on some backends, which takes what it takes.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
