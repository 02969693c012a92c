"""What the tests that run real Postgres on real mounts share. Start reading at workplace.py."""
