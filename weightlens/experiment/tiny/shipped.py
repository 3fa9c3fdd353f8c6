"""Where the embedded models lie: base, safe-full, safe-lora, and an unrelated base."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "models"
