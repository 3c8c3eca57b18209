"""Calls of the contract as data: play them, record them, draw them at random, and compare two implementations."""
