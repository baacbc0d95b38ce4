"""The domain: keys, scopes, fingerprints, outcomes, records. Pure functions and immutable values."""
