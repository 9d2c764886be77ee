"""The operations of API v2, one module a resource."""
