"""idempotency-sidecar: makes HTTP services behind Envoy safe to retry."""
