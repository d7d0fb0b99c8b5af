"""What tools/make_fixtures.py is made of."""
