"""What the command line is made of; `python -m purethin` runs `purethin.__main__`."""
