"""How a plan is proposed: published policies and ours, behind one protocol."""
