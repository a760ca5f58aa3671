"""What arrives: traces of requests per second, how they are made, and when each request arrives. Pure and seeded."""
