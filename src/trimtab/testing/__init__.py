"""The public conformance kit: checks and fakes for those who bring their own policy, forecaster or plant."""
