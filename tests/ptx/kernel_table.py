#!/usr/bin/env python3
"""What each kernel costs, against tests/ptx/kernel_counts.json:

    kernel_table.py [--update] --counts PROGRAM --ptxas PTXAS --architecture sm_90 TABLE FILE.ptx...
    kernel_table.py [--update] --nvdisasm NVDISASM --ptxas PTXAS --architecture sm_90 TABLE FILE.ptx...

PROGRAM (ptx_counts) says what the kernels execute for two images of AlexNet's layers: instructions of PTX, and
sectors of 32 bytes. ptxas says how many registers a thread has, hence how many threads of 2048 fit on a
multiprocessor; the PTX, how wide the widest load and store are. NVDISASM says how many loads and stores of global
memory ptxas has made of that, by their bits. Fails where a number is not within 2 % of the table's, either way:
--update writes the table anew, and the change is there to be read. Exit status 77: not done, for the reason said.
"""
import argparse
import collections
import json
import re
import subprocess
import sys
import tempfile

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
    """Of each kernel of a file: registers, spills, threads that fit, widest accesses of the PTX."""
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


# A load or store of global memory, or of one that the instruction does not know to be global: "LDG.E.64.CONSTANT".
ACCESS = re.compile(r'\b(LDG|LD|STG|ST)\.(E[.\w]*)')
BITS = {'U8': 8, 'S8': 8, 'U16': 16, 'S16': 16, '64': 64, '128': 128}


def accesses(instructions):
    """How many loads and stores by their bits, widest first: {'128': 4, '16': 1}."""
    counts = {'loads': collections.Counter(), 'stores': collections.Counter()}
    for name, modifiers in ACCESS.findall(instructions):
        bits = next((BITS[word] for word in modifiers.split('.') if word in BITS), 32)
        counts['loads' if name.startswith('LD') else 'stores'][bits] += 1
    return {what: {str(bits): found[bits] for bits in sorted(found, reverse=True)} for what, found in counts.items()}


def machine_code(path, ptxas, architecture, nvdisasm):
    """Of each kernel of a file: what ptxas has made of its loads and stores."""
    with tempfile.NamedTemporaryFile(suffix='.cubin') as cubin:
        subprocess.run([ptxas, f'-arch={architecture}', path, '-o', cubin.name], check=True)
        text = subprocess.run([nvdisasm, '--print-code', cubin.name], capture_output=True, text=True, check=True).stdout
    parts = re.split(r'^\s*\.section\s+\.text\.(\w+).*$', text, flags=re.M)  # what is before them; name, body, ...
    return {readable(name): accesses(body) for name, body in zip(parts[1::2], parts[2::2])}


def flat(numbers):
    """{'loads': {'128': 4}} as {'loads of 128 bits': 4}."""
    result = {}
    for what, value in numbers.items():
        result.update({f'{what} of {bits} bits': count for bits, count in value.items()}
                      if isinstance(value, dict) else {what: value})
    return result


def differences(expected, found):
    for key in sorted(set(expected) | set(found)):
        if key not in found:
            yield f'{key}: is in the table only'
        elif key not in expected:
            yield f'{key}: is not in the table'
        else:
            was, now = flat(expected[key]), flat(found[key])
            for what in {**was, **now}:
                value, kept = now.get(what, 0), was.get(what, 0)
                if abs(value - kept) > TOLERANCE * abs(kept):
                    yield f'{key}: {what} {value}, in the table {kept}'


def measured(options):
    """By part of the table: those that the named programs can tell."""
    if options.nvdisasm is not None:
        kernels = {}
        for path in options.ptx:
            kernels.update(machine_code(path, options.ptxas, options.architecture, options.nvdisasm))
        return {'machine_code': dict(sorted(kernels.items()))}
    kernels = {}
    for path in options.ptx:
        kernels.update(compiled(path, options.ptxas, options.architecture))
    return {'compiled': dict(sorted(kernels.items())),
            'executed': json.loads(subprocess.run([options.counts], capture_output=True, text=True, check=True).stdout)}


def write_table(path, parts):
    """One kernel a line."""
    with open(path, 'w', encoding='utf-8') as table:
        for part in sorted(parts):
            lines = ',\n'.join(f'    {json.dumps(key)}: {json.dumps(value)}' for key, value in parts[part].items())
            table.write(('{\n' if part == min(parts) else ',\n') + f'  "{part}": {{\n{lines}\n  }}')
        table.write('\n}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--update', action='store_true', help='write the table')
    programs = parser.add_mutually_exclusive_group(required=True)
    programs.add_argument('--counts')
    programs.add_argument('--nvdisasm', help='empty: there is none')
    parser.add_argument('--ptxas', required=True)
    parser.add_argument('--architecture', required=True)
    parser.add_argument('table')
    parser.add_argument('ptx', nargs='+')
    options = parser.parse_args()
    why_not = None
    if options.architecture != 'sm_90':
        why_not = f'the table is of sm_90, this build is for {options.architecture}'
    elif options.nvdisasm == '':
        why_not = ('nvdisasm, which comes with the CUDA toolkit, is neither beside nvcc nor on PATH: the widths of '
                   'loads and stores in the machine code are not looked at')
    if why_not:
        print(f'[  SKIPPED ] {why_not}')
        sys.exit(0 if options.update else 77)
    found = measured(options)
    with open(options.table, encoding='utf-8') as table:
        expected = json.load(table)
    if options.update:
        write_table(options.table, {**expected, **found})
        return
    wrong = [line for part in found for line in differences(expected.get(part, {}), found[part])]
    if wrong:
        print('\n'.join(wrong), '\nIf this is meant: build update_kernel_counts, and commit the table')
        sys.exit(1)
    for part, kernels in found.items():
        print(f'{part}: {len(kernels)} lines are as in tests/ptx/kernel_counts.json')


if __name__ == '__main__':
    main()
