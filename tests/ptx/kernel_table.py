#!/usr/bin/env python3
"""What each kernel costs, against tests/ptx/kernel_counts.json:

    kernel_table.py [--update] --counts PROGRAM --ptxas PTXAS --architecture sm_90 TABLE FILE.ptx...

PROGRAM (ptx_counts) says what the kernels execute for two images of AlexNet's layers: instructions of PTX, and
sectors of 32 bytes. ptxas says how many registers a thread has, hence how many threads of 2048 fit on a
multiprocessor; the PTX, how wide the widest load and store are. Fails where a number is not within 2 % of the
table's, either way: --update writes the table anew, and the change is there to be read.
"""
import argparse
import json
import re
import subprocess
import sys

TOLERANCE = 0.02
REGISTERS, THREADS, GRANULE = 65536, 2048, 8  # of a multiprocessor of an H100; registers come in eights


def readable(name):
    """A kernel's name as ptx::readable_name() writes it."""
    text = subprocess.run(['c++filt', name], capture_output=True, text=True, check=True).stdout.strip()
    text = re.sub(r'^void |stagecoach::|cuda::|\(anonymous namespace\)::|_GLOBAL__N__\w+::', '', text)
    return text[:text.rindex('(')]


def resident_threads(registers):
    warps = REGISTERS // (-(-registers // GRANULE) * GRANULE * 32)
    return min(THREADS, warps // 8 * 8 * 32)  # blocks of 256 threads


def widest(body, access):
    sizes = [int(width or 1) * int(bits) // 8
             for width, bits in re.findall(access + r'\.global(?:\.nc)?(?:\.v(\d))?\.[busf](\d+)', body)]
    return max(sizes, default=0)


def compiled(path, ptxas, architecture):
    """Of each kernel of a file: registers, spills, threads that fit, widest accesses."""
    said = subprocess.run([ptxas, f'-arch={architecture}', '-v', path, '-o', '/dev/null'], capture_output=True,
                          text=True, check=True).stderr
    text = open(path, encoding='utf-8').read()
    kernels = {}
    for name, spills, registers in re.findall(
            r"entry function '(\w+)'.*?(\d+) bytes spill loads.*?Used (\d+) registers", said, re.S):
        body = text[re.search(rf'\.entry {name}\(', text).end():]
        body = body[:body.index('\n}')]
        kernels[readable(name)] = {'registers': int(registers), 'spilled_bytes': int(spills),
                                   'resident_threads': resident_threads(int(registers)),
                                   'widest_load': widest(body, 'ld'), 'widest_store': widest(body, 'st')}
    return kernels


def differences(expected, found):
    for key in sorted(set(expected) | set(found)):
        if key not in found:
            yield f'{key}: is in the table only'
        elif key not in expected:
            yield f'{key}: is not in the table'
        else:
            for what, value in found[key].items():
                kept = expected[key].get(what, -1)
                if abs(value - kept) > TOLERANCE * abs(kept):
                    yield f'{key}: {what} {value}, in the table {kept}'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--update', action='store_true', help='write the table')
    for option in ('--counts', '--ptxas', '--architecture'):
        parser.add_argument(option, required=True)
    parser.add_argument('table')
    parser.add_argument('ptx', nargs='+')
    options = parser.parse_args()
    if options.architecture != 'sm_90':
        print(f'[  SKIPPED ] the table is of sm_90, this build is for {options.architecture}')
        sys.exit(77)
    found = {'compiled': {}, 'executed': json.loads(subprocess.run([options.counts], capture_output=True, text=True,
                                                                   check=True).stdout)}
    for path in options.ptx:
        found['compiled'].update(compiled(path, options.ptxas, options.architecture))
    found['compiled'] = dict(sorted(found['compiled'].items()))
    if options.update:
        with open(options.table, 'w', encoding='utf-8') as table:
            for part in found:  # one kernel a line
                lines = ',\n'.join(f'    {json.dumps(key)}: {json.dumps(value)}' for key, value in found[part].items())
                table.write(('{\n' if part == 'compiled' else ',\n') + f'  "{part}": {{\n{lines}\n  }}')
            table.write('\n}\n')
        return
    with open(options.table, encoding='utf-8') as table:
        expected = json.load(table)
    wrong = [line for part in found for line in differences(expected[part], found[part])]
    if wrong:
        print('\n'.join(wrong), '\nIf this is meant: build update_kernel_counts, and commit the table')
        sys.exit(1)
    print(f'{len(found["compiled"])} kernels cost what tests/ptx/kernel_counts.json says')


if __name__ == '__main__':
    main()
