import pathlib
import sys

# The toys are a helper of these tests alone.
sys.path.insert(0, str(pathlib.Path(__file__).parent))
