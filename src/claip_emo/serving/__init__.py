"""The recogniser over HTTP: a server for programs, and a page for people."""
