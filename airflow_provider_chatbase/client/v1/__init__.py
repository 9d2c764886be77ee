"""The operations of API v1, one module a resource. It says chatbot for agent."""
