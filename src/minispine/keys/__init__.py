"""Every key and certificate: what each is for, how it is made, and the rule that its file is for its owner only."""
