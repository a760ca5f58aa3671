"""InfAdapter (EuroMLSys 2023) and its baseline MS+: sets of variants for one service."""
