"""What the machine is and what it uses: memory, power, clocks."""
