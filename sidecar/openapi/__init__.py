"""What a service's OpenAPI description should say of its policies: an Overlay that adds it."""
