"""Runs on a virtual clock: the production loop, queue and limits against emulated servers."""
