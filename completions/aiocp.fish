complete -c aiocp -s t -l target-directory -d 'Copy all SOURCEs into DIRECTORY' -r -f -a "(__fish_complete_directories)"
complete -c aiocp -l preserve -d 'Keep mode, ownership, timestamps, links, context, xattr or all' -f -a "(__fish_complete_list , 'string split \  -- mode ownership timestamps links context xattr all')"
complete -c aiocp -l no-preserve -d 'Do not keep this' -r -f -a "(__fish_complete_list , 'string split \  -- mode ownership timestamps links context xattr all')"
complete -c aiocp -l sparse -d 'Holes: auto keeps them, always makes them of zeros, never fills them' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l reflink -d 'Clone files: auto, always, never' -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l update -d 'Replace all, none, none-fail (a failure) or older (the default) files' -f -a "all\t''
none\t''
none-fail\t''
older\t''"
complete -c aiocp -l backup -d 'The same, with names: none, numbered, existing (default), simple' -f -a "none\t''
numbered\t''
existing\t''
simple\t''"
complete -c aiocp -s S -l suffix -d 'What simple backups end in, instead of "~"' -r
complete -c aiocp -l exclude -d 'Leave out what matches, as in rsync' -r
complete -c aiocp -l include -d 'Keep what matches, and a later --exclude would leave out' -r
complete -c aiocp -l exclude-from -d 'Read --exclude patterns from a file, one a line ("-": stdin)' -r -F
complete -c aiocp -l include-from -d 'Read --include patterns from a file, one a line ("-": stdin)' -r -F
complete -c aiocp -l min-size -d 'Leave out files that are smaller' -r
complete -c aiocp -l max-size -d 'Leave out files that are larger' -r
complete -c aiocp -l files-from -d 'Copy only the paths in a file, relative to SOURCE ("-": stdin)' -r -F
complete -c aiocp -l manifest -d 'Write each file\'s BLAKE3 hash ("-": stdout)' -r -F
complete -c aiocp -l direct -d 'Go past the page cache with O_DIRECT: auto, always, never' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l engine -d 'Who moves the blocks of big files [default: kernel, or threads where it cannot be had]' -r -f -a "kernel\t'Kernel AIO for what is direct, threads for the rest'
posix\t'glibc\'s POSIX AIO'
threads\t'Threads that call pread and pwrite'"
complete -c aiocp -l queue-depth -d 'Blocks in flight, 1 to 4096' -r
complete -c aiocp -l block-size -d 'Bytes a block, a power of two from 4K to 64M' -r
complete -c aiocp -l threads -d 'Workers, 1 to 1024' -r
complete -c aiocp -l bwlimit -d 'Read at most so much a second, KiB without a unit; 0 for no limit' -r
complete -c aiocp -l journal-interval -d 'With --resume, bytes of a big file that may be copied again' -r
complete -c aiocp -l progress -d 'Show how far it is: auto, always, never' -f -a "auto\t''
always\t''
never\t''"
complete -c aiocp -l log-file -d 'Add what happens to FILE, a line each' -r -F
complete -c aiocp -l failed-list -d 'Write what failed, for --files-from ("-": stdout)' -r -F
complete -c aiocp -l report -d 'Write a page about the run: rates, latencies, slow files, failures' -r -F
complete -c aiocp -l completions -d 'Print a completion script: bash, zsh, fish, elvish, powershell' -r -f -a "bash\t''
elvish\t''
fish\t''
powershell\t''
zsh\t''"
complete -c aiocp -s T -l no-target-directory -d 'Take DEST as the copy\'s name: merge trees'
complete -c aiocp -s r -l recursive -d 'Accepted, as is -R: directories are always copied whole'
complete -c aiocp -s p -d 'Keep owner and group too'
complete -c aiocp -s a -l archive -d 'Keep everything, also owners and devices'
complete -c aiocp -l parents -d 'Make again below DIRECTORY the folders that SOURCE names'
complete -c aiocp -l strip-trailing-slashes -d 'Take no notice of slashes at the end of a SOURCE'
complete -c aiocp -s L -l dereference -d 'Follow all symbolic links in SOURCE'
complete -c aiocp -s P -l no-dereference -d 'Copy symbolic links as links, also if named as SOURCE (default)'
complete -c aiocp -s H -d 'Follow symbolic links that are named as SOURCE'
complete -c aiocp -s d -d 'The same as -P --preserve=links'
complete -c aiocp -s x -l one-file-system -d 'Do not go into directories on other filesystems'
complete -c aiocp -s l -l link -d 'Make hard links to the files instead of copies'
complete -c aiocp -s s -l symbolic-link -d 'Make symbolic links to the files instead of copies'
complete -c aiocp -l attributes-only -d 'Copy no data, only what --preserve names'
complete -c aiocp -l no-sync -d 'Do not wait for the device'
complete -c aiocp -s i -l interactive -d 'Ask before a file is replaced'
complete -c aiocp -s n -l no-clobber -d 'Never replace (rsync\'s -n is --dry-run)'
complete -c aiocp -s u -d 'Replace only what is older'
complete -c aiocp -s f -l force -d 'With -l or -s, replace what exists (copies always do)'
complete -c aiocp -l remove-destination -d 'Replace also FIFOs and devices, and not what a link leads to'
complete -c aiocp -s b -d 'Keep what is replaced, under another name'
complete -c aiocp -s 0 -l from0 -d 'What these files hold ends in NUL instead of newline'
complete -c aiocp -l verify -d 'Read each file back from the device'
complete -c aiocp -l resume -d 'Go on where an interrupted --resume ended'
complete -c aiocp -l verify-only -d 'Copy nothing: compare DEST with SOURCE, both as their devices have them'
complete -c aiocp -l repair -d 'Write again what differs; with --verify-only also copy what is missing'
complete -c aiocp -s v -l verbose -d 'Print each file when it is done'
complete -c aiocp -l debug -d 'Print a line a file: direct or buffered, and why'
complete -c aiocp -l stats -d 'Print what was done in the end'
complete -c aiocp -l json -d 'Print a JSON object a line on stdout: what happened, and a summary'
complete -c aiocp -l dry-run -d 'Say what would be done (-n is --no-clobber)'
complete -c aiocp -s h -l help -d 'Print help (see more with \'--help\')'
complete -c aiocp -s V -l version -d 'Print version'
