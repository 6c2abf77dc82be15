"""Screening: many structures in, one durable row each out, spread over any `concurrent.futures` executor."""
