"""The request path as decisions: admission, batch formation, variant choice. Pure; every plant calls these."""
