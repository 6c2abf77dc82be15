#!/bin/sh
# Makes the stores that recipes/*.toml train on: one for each level of theory, of training files alone.
#   GFM_ASE_DATA=/where/the/data/is sh recipes/data.sh FOLDER
# It ends by telling whether they are what the shipped model has seen.
set -euf # f: globs are for gfm-ase, not for the shell
out=$(realpath -m "${1:?give the folder for the stores}")
expected=$(realpath "$(dirname "$0")")/data.sha256
mkdir -p "$out"
cd "${GFM_ASE_DATA:?set GFM_ASE_DATA to the folder of the data sets}"

store() {
    name=$1 theory=$2 licence=$3
    shift 3
    gfm-ase data convert -o "$out/$name.store" --theory "$theory" --licence "$licence" --drop-duplicates "$@"
}

store pbe_mp "PBE(+U), VASP, settings of the Materials Project" "CC-BY-4.0, MIT" \
    mptrj_1k/train.extxyz.gz mpf_tp/train.extxyz.gz alexandria_1k/train.extxyz.gz \
    --exclude mptrj_1k/test.extxyz.gz --exclude mpf_tp/test.extxyz.gz --exclude alexandria_1k/test.extxyz.gz

# elements and alloys of one group and one setting: all of mlearn, a half of the elements, a quarter of the alloys; two slabs of
# elements_train (the 326th and 330th) are mlearn's Mo test, moved in their cells: the half has neither
tests="--exclude mlearn/*_test.extxyz.gz --exclude nbmotaw/test.extxyz.gz"
store pbe_metals "PBE, VASP, 520 eV" "BSD-3-Clause" mlearn/*_train.extxyz.gz $tests
store pbe_metals "PBE, VASP, 520 eV" "BSD-3-Clause" nbmotaw/elements_train.extxyz.gz --every 2 $tests
store pbe_metals "PBE, VASP, 520 eV" "BSD-3-Clause" nbmotaw/binaries_train.extxyz.gz --every 4 $tests

# frames of ethanol_methanol's ethanol come from rmd17, in part from its test files: left out
store pbe_def2svp "PBE/def2-SVP" "CC0-1.0, MIT" "rmd17/*_train.extxyz.gz" ethanol_methanol/train_methanol.extxyz.gz \
    --exclude "rmd17/*_test.extxyz.gz" --exclude ethanol_methanol/test_methanol.extxyz.gz

store pbe_ts "PBE + vdW-TS, FHI-aims" "CC0-1.0" "md17_original/*_train.extxyz.gz" \
    --exclude "md17_original/*_test.extxyz.gz"
store pbe_d3_def2svp "UHF-PBE-D3/def2-SVP" "MIT" acac/train_300K.extxyz.gz \
    --exclude acac/test_300K.extxyz.gz --exclude acac/test_600K.extxyz.gz
store wb97x_631gd "wB97X/6-31G(d)" "MIT" 3bpa/train_300K.extxyz.gz 3bpa/train_mixedT_300of500.extxyz.gz \
    s66x8/train.extxyz.gz --exclude s66x8/test.extxyz.gz
store ccsdt_ccpvtz "CCSD(T)/cc-pVTZ" "MIT" ethanol_ccsdt/train.extxyz.gz --exclude ethanol_ccsdt/test.extxyz.gz
store lda "LDA, CASTEP, 650 eV" "MIT" carbon_lda/train.extxyz.gz --exclude carbon_lda/test.extxyz.gz

for name in pbe_mp pbe_metals pbe_def2svp pbe_ts pbe_d3_def2svp wb97x_631gd ccsdt_ccpvtz lda; do
    echo "$name $(COLUMNS=200 gfm-ase data stats "$out/$name.store" | sed -n 's/^content: //p')"
done > "$out/data.sha256"
if diff "$expected" "$out/data.sha256"; then echo "These are the data of the shipped model."; else exit 1; fi
