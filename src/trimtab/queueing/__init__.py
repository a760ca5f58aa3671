"""Theory: waiting times of queues with several servers and batches; each formula cites its source."""
