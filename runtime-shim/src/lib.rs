//! Container runtimes behind one trait: CRI, processes, simulated
