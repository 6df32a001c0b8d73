
use builtin;
use str;

set edit:completion:arg-completer[aiosum] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'aiosum'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'aiosum'= {
            cand -C 'Change to DIRECTORY before doing anything'
            cand --directory 'Change to DIRECTORY before doing anything'
            cand -a 'Use NAME instead of BLAKE3'
            cand --algorithm 'Use NAME instead of BLAKE3'
            cand --audit 'Also report files in DIRECTORY that no line names'
            cand -l 'Hash length in bytes (BLAKE3: 32, BLAKE2b: 64)'
            cand --length 'Hash length in bytes (BLAKE3: 32, BLAKE2b: 64)'
            cand --seek 'Offset of the first BLAKE3 output byte'
            cand --derive-key 'Use BLAKE3''s key derivation mode'
            cand --num-threads 'Number of threads that read and hash'
            cand --direct 'Bypass the page cache with O_DIRECT: auto, always, never'
            cand --queue-depth 'Blocks in flight, 1 to 4096'
            cand --block-size 'Block size, a power of two from 4K to 64M'
            cand --progress 'Show progress: auto, always, never'
            cand --exclude 'Exclude matching files, as in rsync'
            cand --include 'Include files that a later --exclude matches'
            cand --exclude-from 'Read --exclude patterns from FILE ("-": stdin)'
            cand --include-from 'Read --include patterns from FILE ("-": stdin)'
            cand --min-size 'Skip files smaller than SIZE'
            cand --max-size 'Skip files larger than SIZE'
            cand --completions 'Print a completion script for SHELL'
            cand -c 'Read hashes from the FILEs and check them'
            cand --check 'Read hashes from the FILEs and check them'
            cand -q 'Print no OK for verified files, and no notes'
            cand --quiet 'Print no OK for verified files, and no notes'
            cand --status 'No output; use the exit status'
            cand --ignore-missing 'Skip files that do not exist'
            cand --strict 'Accepted for compatibility: malformed lines always fail'
            cand -w 'Report every malformed line'
            cand --warn 'Report every malformed line'
            cand --tag 'Print BSD-style lines: BLAKE3 (FILE) = HASH'
            cand -z 'End lines with NUL; do not escape names'
            cand --zero 'End lines with NUL; do not escape names'
            cand --no-names 'Print hashes only, without names'
            cand --json 'Print results and a summary as JSON lines on stdout'
            cand --raw 'Print the hash of one file as raw bytes'
            cand --keyed 'Read a 32-byte key from standard input'
            cand --no-mmap 'Accepted for compatibility: files are never memory-mapped'
            cand -0 'Entries in list files end in NUL, not newline'
            cand --from0 'Entries in list files end in NUL, not newline'
            cand --debug 'Print for each file how it was read, and why'
            cand -h 'Print help; --help lists all options'
            cand --help 'Print help; --help lists all options'
            cand -V 'Print the version, and the I/O engines'
            cand --version 'Print the version, and the I/O engines'
        }
    ]
    $completions[$command]
}
