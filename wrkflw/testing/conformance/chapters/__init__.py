"""The chapters of the contract, one module each."""
