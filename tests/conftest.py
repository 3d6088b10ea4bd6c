"""Property tests are the same in every run, and are never failed for their speed."""

from hypothesis import settings

settings.register_profile("tinyddpm", deadline=None, derandomize=True)
settings.load_profile("tinyddpm")
