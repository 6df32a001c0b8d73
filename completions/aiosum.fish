complete -c aiosum -s C -l directory -d 'Change to DIRECTORY before doing anything' -r -f -a "(__fish_complete_directories)"
complete -c aiosum -s a -l algorithm -d 'Use NAME instead of BLAKE3' -r -f -a "blake3\t''
blake2b\t''
sha512\t''
sha384\t''
sha256\t''
sha224\t''
sha1\t''
md5\t''
xxh128\t''"
complete -c aiosum -l audit -d 'Also report files in DIRECTORY that no line names' -r -f -a "(__fish_complete_directories)"
complete -c aiosum -s l -l length -d 'Hash length in bytes (BLAKE3: 32, BLAKE2b: 64)' -r
complete -c aiosum -l seek -d 'Offset of the first BLAKE3 output byte' -r
complete -c aiosum -l derive-key -d 'Use BLAKE3\'s key derivation mode' -r
complete -c aiosum -l num-threads -d 'Number of threads that read and hash' -r
complete -c aiosum -l direct -d 'Bypass the page cache with O_DIRECT: auto, always, never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiosum -l queue-depth -d 'Blocks in flight, 1 to 4096' -r
complete -c aiosum -l block-size -d 'Block size, a power of two from 4K to 64M' -r
complete -c aiosum -l progress -d 'Show progress: auto, always, never' -f -a "auto\t''
always\t''
never\t''"
complete -c aiosum -l exclude -d 'Exclude matching files, as in rsync' -r
complete -c aiosum -l include -d 'Include files that a later --exclude matches' -r
complete -c aiosum -l exclude-from -d 'Read --exclude patterns from FILE ("-": stdin)' -r -F
complete -c aiosum -l include-from -d 'Read --include patterns from FILE ("-": stdin)' -r -F
complete -c aiosum -l min-size -d 'Skip files smaller than SIZE' -r
complete -c aiosum -l max-size -d 'Skip files larger than SIZE' -r
complete -c aiosum -l completions -d 'Print a completion script for SHELL' -r -f -a "bash\t''
elvish\t''
fish\t''
powershell\t''
zsh\t''"
complete -c aiosum -s c -l check -d 'Read hashes from the FILEs and check them'
complete -c aiosum -s q -l quiet -d 'Print no OK for verified files, and no notes'
complete -c aiosum -l status -d 'No output; use the exit status'
complete -c aiosum -l ignore-missing -d 'Skip files that do not exist'
complete -c aiosum -l strict -d 'Accepted for compatibility: malformed lines always fail'
complete -c aiosum -s w -l warn -d 'Report every malformed line'
complete -c aiosum -l tag -d 'Print BSD-style lines: BLAKE3 (FILE) = HASH'
complete -c aiosum -s z -l zero -d 'End lines with NUL; do not escape names'
complete -c aiosum -l no-names -d 'Print hashes only, without names'
complete -c aiosum -l json -d 'Print results and a summary as JSON lines on stdout'
complete -c aiosum -l raw -d 'Print the hash of one file as raw bytes'
complete -c aiosum -l keyed -d 'Read a 32-byte key from standard input'
complete -c aiosum -l no-mmap -d 'Accepted for compatibility: files are never memory-mapped'
complete -c aiosum -s 0 -l from0 -d 'Entries in list files end in NUL, not newline'
complete -c aiosum -l debug -d 'Print for each file how it was read, and why'
complete -c aiosum -s h -l help -d 'Print help; --help lists all options'
complete -c aiosum -s V -l version -d 'Print the version, and the I/O engines'
