"""Instance types and preferences: found, checked against a VM, and put into its template.

What admission refuses and what a controller starts is made by the same functions.
"""
