"""What operators see: metrics and logs. Never a raw key, never a credential (CONTRACT G6)."""
