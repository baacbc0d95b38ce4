"""The domain: keys, scopes, fingerprints, outcomes, records. Pure functions and frozen dataclasses."""
