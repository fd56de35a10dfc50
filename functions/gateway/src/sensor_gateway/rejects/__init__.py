"""What broke a rule of the contract, for those who look after the producers."""
