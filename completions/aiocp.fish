complete -c aiocp -s t -l target-directory -d 'Copy all SOURCEs into DIRECTORY' -r -f -a "(__fish_complete_directories)"
complete -c aiocp -l manifest -d 'Write one b3sum line a file, sorted by path and relative to DEST ("-": stdout)' -r -F
complete -c aiocp -l sparse -d 'What becomes of zeros: auto keeps holes, always makes them, never fills them' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l direct -d 'Whether to go past the page cache with O_DIRECT' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l queue-depth -d 'Blocks in flight, 1 to 4096' -r
complete -c aiocp -l block-size -d 'Bytes a block, a power of two from 4K to 64M' -r
complete -c aiocp -l threads -d 'Workers, 1 to 1024' -r
complete -c aiocp -l completions -d 'Print the completion script for a shell' -r -f -a "bash\t''
elvish\t''
fish\t''
powershell\t''
zsh\t''"
complete -c aiocp -s T -l no-target-directory -d 'Take DEST as the copy\'s own name, also if it is a directory'
complete -c aiocp -s r -s R -l recursive -d 'Accepted for cp\'s sake: directories are always copied whole'
complete -c aiocp -s v -l verbose -d 'Print each file when it is done'
complete -c aiocp -l no-sync -d 'Do not wait until data and names are on the device'
complete -c aiocp -l debug -d 'Print a line a file: direct or buffered, and why'
complete -c aiocp -l stats -d 'Print what was done in the end'
complete -c aiocp -s h -l help -d 'Print help (see more with \'--help\')'
complete -c aiocp -s V -l version -d 'Print version'
