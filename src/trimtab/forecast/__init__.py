"""What is coming: quantile forecasts of the arrival rate."""
