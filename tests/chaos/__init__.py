"""Many runs on a few workers, which are killed, frozen and stopped at random, and what must be true in the end."""
