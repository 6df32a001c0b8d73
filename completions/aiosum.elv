
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
            cand -a 'Hash with this algorithm instead of BLAKE3'
            cand --algorithm 'Hash with this algorithm instead of BLAKE3'
            cand --audit 'Name files that have no line, too'
            cand -l 'Bytes of BLAKE3''s output, which has no end'
            cand --length 'Bytes of BLAKE3''s output, which has no end'
            cand --seek 'The first byte of BLAKE3''s output'
            cand --derive-key 'Use BLAKE3''s key derivation mode'
            cand --num-threads 'Threads that read and that hash'
            cand --direct 'Whether to go past the page cache with O_DIRECT'
            cand --queue-depth 'Blocks in flight, 1 to 4096'
            cand --block-size 'Bytes a block, a power of two from 4K to 64M'
            cand --progress 'Show how far it is: auto, always, never'
            cand --exclude 'Leave out what matches, as in rsync'
            cand --include 'Keep what matches, and a later --exclude would leave out'
            cand --exclude-from 'Read --exclude patterns from a file, one a line ("-": stdin)'
            cand --include-from 'Read --include patterns from a file, one a line ("-": stdin)'
            cand --min-size 'Leave out files that are smaller'
            cand --max-size 'Leave out files that are larger'
            cand --completions 'Print the completion script for a shell'
            cand -c 'Check the files that the FILEs'' lines name'
            cand --check 'Check the files that the FILEs'' lines name'
            cand --quiet 'Print no OK'
            cand --status 'Print nothing, the exit code says it'
            cand --ignore-missing 'Pass over files that are not there'
            cand --strict 'Accepted for cksum''s sake: malformed lines always fail'
            cand -w 'Name all malformed lines, even of what is no manifest'
            cand --warn 'Name all malformed lines, even of what is no manifest'
            cand --tag 'Print lines like "BLAKE3 (FILE) = HASH"'
            cand -z 'End lines with NUL, for names of any bytes'
            cand --zero 'End lines with NUL, for names of any bytes'
            cand --no-names 'Print hashes without names'
            cand --raw 'Print the hash of one file as bytes'
            cand --keyed 'Take a key, 32 bytes, from standard input'
            cand --no-mmap 'Accepted for b3sum''s sake: nothing is mapped into memory'
            cand -0 'What these files hold ends in NUL instead of newline'
            cand --from0 'What these files hold ends in NUL instead of newline'
            cand --debug 'Print each file''s route, and why'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
        }
    ]
    $completions[$command]
}
