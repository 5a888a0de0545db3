"""One module for each group of mini services: how to read its request, what to ask, how to answer."""
