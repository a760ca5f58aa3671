"""The request path as decisions: admission, batch formation, variant choice, routing. Pure; the runtime and the
simulator call the same functions.
"""
