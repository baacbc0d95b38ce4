"""The configuration: its shape, its loading, and what is said about it when it is wrong."""
