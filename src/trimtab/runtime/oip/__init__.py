"""The Open Inference Protocol V2 as bytes: tensors, requests, answers, deadlines. It knows no server and no socket."""
