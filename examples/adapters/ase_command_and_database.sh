#!/bin/sh
# ASE's command line and database with our calculator.
#   sh ase_command_and_database.sh example_01/run/model.safetensors
set -eu
checkpoint=$1
python=${PYTHON:-python}
ase() { "$python" -m gfm_ase.adapters.ase_command "$@"; } # ASE's own, which knows "gfm" as well
rm -f gold.db gold.traj gold-relaxed.traj

ase build Au gold.traj -x fcc -a 4.2 --cubic
ase run gfm gold.traj -p "checkpoint=$checkpoint" -f 0.02 -o gold.db        # positions
ase run gfm gold.traj -p "checkpoint=$checkpoint" -s 0.02 -o gold.db -t cell # and the cell
ase run gfm gold.traj -p "checkpoint=$checkpoint" -E 5,2.0 --eos-type sj             # equation of state
ase db gold.db -c id,formula,energy,fmax,smax,volume,calculator

"$python" - "$checkpoint" <<'PYTHON'
import sys
from ase.build import bulk
from gfm_ase.adapters.ase_database import store

store("gold.db", [bulk("Au", a=a) for a in (4.0, 4.1, 4.2)], sys.argv[1], keys={"scan": "length"})
PYTHON
ase db gold.db scan=length -c id,formula,energy,volume,head,checkpoint
