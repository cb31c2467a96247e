"""The commands of the rules, one each."""
